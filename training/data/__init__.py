"""Image data: any source becomes one index-addressable `DataSet`; pipelines are made from that."""
