//! The API over the wire: one node, and forwarding between stand-ins.
