"""Fuzz targets for engines that are guided by coverage: each module stands alone, and is a program."""
