"""The measuring instrument: whole stages, timed beside this machine's matrix product and beside public peers.

A bench runs stages, so it stands above them. Nothing is re-exported: a process that measures the memory of `import` or
`mask` must not load torch. The verb calls `facemae.bench.run.run_bench`.
"""
