"""Whether synthetic images help a task: the experiment on augmentation."""
