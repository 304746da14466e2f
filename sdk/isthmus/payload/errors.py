"""What can go wrong between a value and its bytes."""


class PayloadConversionError(ValueError):
    """A value cannot become bytes, or bytes are not the value that was asked for.

    The message names types and the place inside the value, never content.

    Attributes:
        type_name: the type that cannot become bytes, or empty.
    """

    def __init__(self, message: str, *, type_name: str = "") -> None:
        super().__init__(message)
        self.type_name = type_name
