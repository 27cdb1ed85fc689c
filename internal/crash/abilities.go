//go:build unix

package crash

import "github.com/keyturn/keyturn/worker"

// Unwrap returns the system that the points are around.
func (p systemPoints) Unwrap() worker.System { return p.System }

// As puts points around what changes something and around looks at what became of it; the rest has none.
func (p systemPoints) As(target any) (ok bool) {
	switch target := target.(type) {
	case *worker.Maker:
		if *target, ok = worker.As[worker.Maker](p.System); ok {
			*target = makerPoints{*target, p.at}
		}
	case *worker.Confirmer:
		if *target, ok = worker.As[worker.Confirmer](p.System); ok {
			*target = confirmerPoints{*target, p.at}
		}
	}
	return ok
}
