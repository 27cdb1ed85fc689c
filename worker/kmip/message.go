package kmip

import (
	"encoding/binary"
	"fmt"
)

// Version is a version of the protocol.
type Version struct{ Major, Minor int32 }

func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }

func (v Version) item() item {
	return structure(tagProtocolVersion, integer(tagVersionMajor, v.Major), integer(tagVersionMinor, v.Minor))
}

// known are the versions that this client speaks, the best first.
func known() []Version {
	return []Version{{2, 0}, {1, 4}, {1, 3}, {1, 2}, {1, 1}, {1, 0}}
}

// call is one operation of a batch.
type call struct {
	op      operation
	payload []item
}

// request writes a message: KMIP 1.4 section 7.1. Each call says what it is about by itself, so that one
// that fails stops no other.
func request(v Version, calls []call) []byte {
	header := []item{v.item()}
	if len(calls) > 1 {
		header = append(header, enumeration(tagBatchContinuation, continueOnError))
	}
	header = append(header, integer(tagBatchCount, int32(len(calls)))) //nolint:gosec // bounded by the batch size
	message := structure(tagRequestMessage, structure(tagRequestHeader, header...))
	for n, c := range calls {
		batch := []item{enumeration(tagOperation, c.op)}
		if len(calls) > 1 { // section 6.4: only then it is needed
			batch = append(batch, rawBytes(tagUniqueBatchItemID, binary.BigEndian.AppendUint32(nil, uint32(n))))
		}
		message.items = append(message.items, structure(tagBatchItem, append(batch, structure(tagRequestPayload, c.payload...))...))
	}
	return message.append(nil)
}

// answer is what became of one call.
type answer struct {
	payload item
	err     error // *Error
}

// Error is an operation that the server refused.
type Error struct {
	reason  reason
	Message string
}

func (e *Error) Error() string {
	return fmt.Sprintf("the KMIP server refused (reason 0x%02x): %q", uint32(e.reason), e.Message)
}

// Denied reports whether the server does not let us ask.
func (e *Error) Denied() bool {
	return e.reason == reasonPermissionDenied || e.reason == reasonAuthentication
}

func (e *Error) notFound() bool {
	return e.reason == reasonItemNotFound || e.reason == reasonObjectNotFound || e.reason == reasonObjectDestroyed
}

// answers reads a response message and puts its batch items in the order of the calls.
func answers(b []byte, calls int) ([]answer, error) {
	message, err := parse(b)
	if err != nil {
		return nil, err
	}
	if message.tag != tagResponseMessage {
		return nil, fmt.Errorf("%w: it begins with %06x, which is no response", errMalformed, uint32(message.tag))
	}
	got := make([]answer, calls)
	seen := make([]bool, calls)
	next := 0
	for _, batch := range message.items {
		if batch.tag != tagBatchItem {
			continue
		}
		at := next
		if id, ok := batch.get(tagUniqueBatchItemID); ok && len(id.value) == 4 {
			at = int(binary.BigEndian.Uint32(id.value))
		}
		next++
		if at >= calls || seen[at] {
			return nil, fmt.Errorf("%w: an answer to nothing that was asked", errMalformed)
		}
		got[at], seen[at] = answerOf(batch), true
	}
	for at := range seen {
		if seen[at] {
			continue
		}
		if next == 1 && got[0].err != nil { // the server refused the message as a whole
			return nil, got[0].err
		}
		return nil, fmt.Errorf("%w: %d answers to %d questions", errMalformed, next, calls)
	}
	return got, nil
}

func answerOf(batch item) answer {
	if status, ok := batch.number(tagResultStatus); !ok || status != statusSuccess {
		why, _ := batch.number(tagResultReason)
		return answer{err: &Error{reason: reason(why), Message: batch.text(tagResultMessage)}}
	}
	payload, _ := batch.get(tagResponsePayload)
	return answer{payload: payload}
}
