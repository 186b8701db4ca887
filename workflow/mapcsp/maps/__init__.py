"""Maps of interatomic distances and contacts: labels, networks, and predictions for the next stages."""
