"""A proxy in front of any OpenAI-compatible server: it adds crops, and passes on all else.

``cropvlm proxy --upstream URL`` runs it; an app in any language points its base URL at it. What is
passed on and how, limits, logs and deployment: ``docs/proxy.md``. Needs the extra ``proxy``.

A request goes through :class:`~cropvlm_core.proxy.app.Proxy`: a place in the line
(:mod:`~cropvlm_core.proxy.gate`), its body read (:mod:`~cropvlm_core.proxy.exchange`), crops added
in a worker thread (:mod:`~cropvlm_core.proxy.work`), and the upstream's answer passed on byte for
byte (:mod:`~cropvlm_core.proxy.upstream`).
"""
