package kmip

import (
	"time"
)

// State is a key's place in its life: KMIP 1.4 section 3.22.
type State string

// The states. A key that can decrypt old backups is Active or Deactivated, or Compromised.
const (
	StatePreActive            State = "Pre-Active"
	StateActive               State = "Active"
	StateDeactivated          State = "Deactivated"
	StateCompromised          State = "Compromised"
	StateDestroyed            State = "Destroyed"
	StateDestroyedCompromised State = "Destroyed Compromised"
)

func stateOf(v uint32) State {
	names := []State{StatePreActive, StateActive, StateDeactivated, StateCompromised, StateDestroyed, StateDestroyedCompromised}
	if v < 1 || int(v) > len(names) {
		return ""
	}
	return names[v-1]
}

// Key is what a server says about a key. It holds no key material: that is never asked for.
type Key struct {
	ID    string
	Found bool // false: the server knows no such key, or does not show it to us
	State State
	Name  string

	// Nil: not set, or not told.
	Initial, Activation, Deactivation, Compromise, Destroy *time.Time
	// Err is why this key could not be asked about although it may exist.
	Err error
}

// Usable reports whether backups that were encrypted with the key can still be decrypted.
func (k Key) Usable() bool {
	return k.Found && (k.State == StateActive || k.State == StateDeactivated || k.State == StateCompromised)
}

// set reads one attribute's value.
func (k *Key) set(t tag, value item) {
	if t == tagState {
		if v, ok := value.uint32(); ok {
			k.State = stateOf(v)
		}
		return
	}
	if t == tagName {
		if k.Name == "" { // a key may have several
			k.Name = value.text(tagNameValue)
		}
		return
	}
	at, ok := value.time()
	if !ok {
		return
	}
	switch t {
	case tagInitialDate:
		k.Initial = &at
	case tagActivationDate:
		k.Activation = &at
	case tagDeactivationDate:
		k.Deactivation = &at
	case tagCompromiseDate:
		k.Compromise = &at
	case tagDestroyDate:
		k.Destroy = &at
	}
}

// keyOf reads the payload of a Get Attributes answer: Attribute structures with names in 1.x (section
// 4.12), one Attributes structure with tags in 2.0 (section 6.1.18).
func keyOf(payload item) Key {
	k := Key{ID: payload.text(tagUniqueID), Found: true}
	if all, ok := payload.get(tagAttributes); ok {
		for _, value := range all.items {
			k.set(value.tag, value)
		}
		return k
	}
	for _, attribute := range payload.items {
		if attribute.tag != tagAttribute {
			continue
		}
		value, ok := attribute.get(tagAttributeValue)
		if !ok {
			continue
		}
		name := attribute.text(tagAttributeName)
		for _, known := range attributes() {
			if known.name == name {
				k.set(known.tag, value)
			}
		}
	}
	return k
}
