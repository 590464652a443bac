"""Keep the desired nodes: submit, replace, drain, check for silence and walltimes."""
