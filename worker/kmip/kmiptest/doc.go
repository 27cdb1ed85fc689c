// Package kmiptest starts a real KMIP server for tests: PyKMIP, as Debian has it (python3-pykmip).
package kmiptest
