"""Many runs: planned, carried out, resumed."""
