package worker

// As finds what a system can do beside System (Maker, Confirmer, SnapshotLister, …), also behind decorators: those have
// Unwrap, which returns what they decorate, and may have As, which fills in what they put around such an ability. It is
// for systems what errors.As is for errors.
func As[T any](sys System) (T, bool) {
	for sys != nil {
		if t, ok := sys.(T); ok {
			return t, true
		}
		var t T
		if d, ok := sys.(interface{ As(target any) bool }); ok && d.As(&t) {
			return t, true
		}
		d, ok := sys.(interface{ Unwrap() System })
		if !ok {
			break
		}
		sys = d.Unwrap()
	}
	var none T
	return none, false
}
