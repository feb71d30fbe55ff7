"""What the bytes of format 1 are: compared by the tests, written by ``regenerate`` alone."""
