"""Named by TRL; not used with a server."""


class StructuredOutputsParams: ...
