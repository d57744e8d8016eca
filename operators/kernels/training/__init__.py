"""The inner loops of the trainers: scaling, chances, clusters, factors of sessions."""
