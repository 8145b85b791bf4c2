"""Whether anatomy is right: measures that a clinician knows, a module for each kind of image."""
