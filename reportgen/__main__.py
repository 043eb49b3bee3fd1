"""``python -m reportgen`` is the command ``reportgen``."""

from .cli import main

if __name__ == "__main__":
    main()
