"""The retention sweep: evaluate subjects that are due, and erase what no retention rule keeps."""
