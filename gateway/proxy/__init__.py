"""Body forwarding: from the client to the upstream (`forward`) and back (`relay`)."""
