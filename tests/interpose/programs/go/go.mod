module caller

go 1.21
