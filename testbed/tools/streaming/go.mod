module srs.testbed/tools/streaming

go 1.26
