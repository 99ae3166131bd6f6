"""From a trained model to a deployed one: what each module becomes, and what is folded into what."""
