"""From a recipe to an image: plan, context, bake, look up, verify."""
