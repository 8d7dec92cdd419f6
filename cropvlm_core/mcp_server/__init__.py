"""The tools ``zoom`` and ``look`` for every client of the Model Context Protocol (extra ``mcp``).

``arguments``: what a call passes, checked. ``tools``: what it answers, without the SDK.
``calls``: work off the event loop, bounded. ``server``: the protocol, by the official SDK, and
stdio. ``http``: streamable HTTP.
"""
