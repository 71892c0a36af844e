"""The methods: a folder for each family, a file for each method."""
