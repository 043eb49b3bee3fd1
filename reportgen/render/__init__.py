"""Page or report -> bytes."""
