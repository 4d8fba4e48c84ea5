"""Many dates and instruments at once: plans that are pure, and the engines that carry them out."""
