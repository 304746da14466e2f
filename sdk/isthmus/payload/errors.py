"""What can go wrong between a value and its bytes."""


class PayloadConversionError(ValueError):
    """A value cannot become bytes, or bytes are not the value that was asked for.

    The message names types and the place inside the value, never content.
    """
