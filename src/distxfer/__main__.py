"""`python -m distxfer`, which is what `accelerate launch -m distxfer` runs."""

from distxfer.cli import main

main()
