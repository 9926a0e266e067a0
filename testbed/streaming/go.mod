module srs.testbed/streaming

go 1.26
