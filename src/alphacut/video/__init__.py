"""Moving pictures: a film in, its subject out, with the sound it had."""
