package sqlite

import (
	"context"
	"strings"
)

// maxBulk is how many rows one statement takes at most.
const maxBulk = 128

// bulk gathers rows for a statement that takes many: to begin a statement, with all the indexes of its table, and to end it
// costs as much as two rows do.
type bulk struct {
	head, row, tail string // the statement is head, row for each of them with commas between, tail
	shared          []any  // arguments that all rows have in common; the row names them ?1 to ?n
	args            []any  // those, and those of the rows
	rows            int
}

// add adds a row, without what it shares with the others.
func (b *bulk) add(args ...any) {
	if b.rows == 0 {
		b.args = append(b.args[:0], b.shared...)
	}
	b.args = append(b.args, args...)
	b.rows++
}

// flush writes the rows that were gathered. It takes them by powers of two, so that few statements are to be kept.
func (t *tx) flush(ctx context.Context, b *bulk) error {
	args, same := b.args, len(b.shared)
	for b.rows > 0 {
		n, width := maxBulk, (len(args)-same)/b.rows
		for n > b.rows {
			n /= 2
		}
		if _, err := t.ExecContext(ctx, b.text(n), args[:same+n*width]...); err != nil {
			return err
		}
		args, b.rows = args[n*width:], b.rows-n
		copy(args, b.shared)
	}
	return nil
}

func (b *bulk) text(rows int) string {
	return b.head + strings.Repeat(b.row+",", rows-1) + b.row + b.tail
}
