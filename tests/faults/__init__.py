"""A bench of small trainings, sick and healthy, on which the diagnoses are scored: ``python -m tests.faults.score``.

``case``      what a case is: a program with one fault and the same program with only the fault repaired, the causes a
              right report may name, further causes that are true of the sick run, and a proof that the fault does harm
``data`` ``nets`` ``metrics`` ``programs``   what the programs are made of; all of it is generated or comes with
              scikit-learn
``healthy_*`` ``sick_*``   the cases, by kind of fault
``fresh_*`` ``fresh2_*`` ``fresh3_*``   data and cases of splits of their own, by people who did not know the rules:
            no rule is tuned on them
``loop``      the one training loop, with a Monitor in it
``catalogue`` ``split.toml``   which cases and seeds thresholds are chosen on, and which are reported
``verdict`` ``score``   what a report said, held against the truth; sums and the command

Nothing here knows how the monitor or a rule works inside. To add a case, write its function beside its like: its name
is the name of the case. A twin has to be well in every respect, for every alarm on it counts as false.
"""
