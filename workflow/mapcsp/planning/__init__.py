"""Plan: cuts predicted symmetry into genetic searches, and the searches into jobs."""
