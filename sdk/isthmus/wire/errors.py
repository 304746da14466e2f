"""The errors that parsing of wire data raises."""


class WireFormatError(ValueError):
    """Bytes from the wire are not what the format allows. The message names the field, never its content."""


class UnknownSuiteError(WireFormatError):
    """The header names a suite other than the one of this version. There is no negotiation."""
