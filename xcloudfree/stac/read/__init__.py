"""Reading the pixels of assets inside the task, and recording faults."""
