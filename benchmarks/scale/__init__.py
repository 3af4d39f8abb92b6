"""What more and more actors cost the learner's host, with actors and hosts that are simulated."""
