"""`python -m variant_parallelism.cli` is `vp`."""

from variant_parallelism.cli import main

main()
