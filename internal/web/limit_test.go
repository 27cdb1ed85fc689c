package web

import (
	"fmt"
	"testing"
	"time"
)

func TestLimiter(t *testing.T) {
	t.Parallel()
	begin := func() (*limiter, *time.Time) {
		now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		return newLimiter(func() time.Time { return now }), &now
	}
	const addr = "192.0.2.1:4000"

	t.Run("lets everybody try first", func(t *testing.T) {
		t.Parallel()
		l, _ := begin()
		if wait := l.wait(addr); wait != 0 {
			t.Errorf("wait is %v, want none", wait)
		}
	})
	t.Run("makes an address wait after its tries, and forgives", func(t *testing.T) {
		t.Parallel()
		l, now := begin()
		for i := range tries {
			if wait := l.wait(addr); wait != 0 {
				t.Fatalf("after %d failures: wait is %v", i, wait)
			}
			l.failed(addr)
		}
		if wait := l.wait("192.0.2.1:9"); wait != refill {
			t.Errorf("wait is %v, want %v", wait, refill)
		}
		if wait := l.wait("192.0.2.2:9"); wait != 0 {
			t.Errorf("another address waits %v", wait)
		}
		*now = now.Add(refill)
		if wait := l.wait(addr); wait != 0 {
			t.Errorf("wait is %v after %v", wait, refill)
		}
	})
	t.Run("counts the /64 of an IPv6 address", func(t *testing.T) {
		t.Parallel()
		l, _ := begin()
		for i := range tries {
			l.failed(fmt.Sprintf("[2001:db8::%d]:1", i))
		}
		if l.wait("[2001:db8::ffff]:1") == 0 {
			t.Error("the next address of the network need not wait")
		}
		if l.wait("[2001:db8:0:1::1]:1") != 0 {
			t.Error("another network waits")
		}
	})
	t.Run("bounds what all addresses try together, and its memory", func(t *testing.T) {
		t.Parallel()
		l, now := begin()
		for i := range 3 * maxAddresses {
			*now = now.Add(allRefill)
			l.failed(fmt.Sprintf("10.%d.%d.1:1", i/256, i%256))
		}
		if len(l.addresses) > maxAddresses {
			t.Errorf("%d addresses are kept", len(l.addresses))
		}
		for i := range allTries {
			l.failed(fmt.Sprintf("172.16.%d.1:1", i%256))
		}
		if l.wait("172.16.1.1:1") == 0 {
			t.Error("an address that failed need not wait, though all together have tried too often")
		}
	})
	t.Run("counts those who come when it is full together", func(t *testing.T) {
		t.Parallel()
		l, now := begin()
		for i := range maxAddresses {
			for range tries {
				l.failed(fmt.Sprintf("10.%d.%d.1:1", i/256, i%256))
			}
		}
		*now = now.Add(30 * time.Second)
		l.all = *now
		for i := range tries {
			l.failed(fmt.Sprintf("172.16.%d.1:1", i))
		}
		if l.wait("203.0.113.1:1") == 0 || len(l.addresses) > maxAddresses {
			t.Errorf("a new address waits %v, %d addresses are kept", l.wait("203.0.113.1:1"), len(l.addresses))
		}
	})
}
