"""How good it is: distances of features, the classifier that gives them, floors."""
