"""Named benchmarks as the Hugging Face Hub stores them, read as questions of ours [extra train].

``named.open_benchmark("docvqa")`` is the door; ``datasets`` is imported when it is entered. Beside
it stand converters of document sets that lie elsewhere (``document_sets.convert``). **Nothing here
was run against the Hub:** the layouts are those of cards and of public code, named in
:mod:`cropvlm_core.benchmarks.layouts`.
"""
