module srs.testbed/streaming

go 1.26

require github.com/bluenviron/gortmplib v1.0.1
