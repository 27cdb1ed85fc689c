package webhook

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"path"
	"strings"
	"syscall"
	"time"
)

// guard decides which addresses may be connected to. It looks at the address that is really dialled, after
// names were resolved: a name that points somewhere else at the second look gets nothing
// (https://owasp.org/www-community/attacks/Server_Side_Request_Forgery).
type guard struct {
	loopback bool // the server itself is reached from this machine only, so its users may be, too
	networks []netip.Prefix
	names    []string // hosts that may be at private addresses, but not at those of neverNamed
}

func newGuard(allowed []string, loopback bool) guard {
	g := guard{loopback: loopback}
	for _, a := range allowed {
		if prefix, err := netip.ParsePrefix(a); err == nil {
			g.networks = append(g.networks, prefix.Masked())
		} else if addr, err := netip.ParseAddr(a); err == nil {
			g.networks = append(g.networks, netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()))
		} else {
			g.names = append(g.names, strings.ToLower(a))
		}
	}
	return g
}

// refusedError says that an address must not be connected to.
type refusedError struct {
	host string
	addr netip.Addr
}

func (e *refusedError) Error() string {
	if e.host == e.addr.String() {
		return fmt.Sprintf("%s is a private address: name it in allowPrivate if it may be called", e.addr)
	}
	return fmt.Sprintf("%s is at the private address %s: name one of them in allowPrivate if it may be called", e.host, e.addr)
}

// check returns an error for an address that must not be connected to on behalf of the host.
func (g guard) check(host string, addr netip.Addr) error {
	addr = addr.Unmap().WithZone("")
	if !special(addr) {
		return nil
	}
	for _, n := range g.networks {
		if n.Contains(addr) {
			return nil
		}
	}
	if g.loopback && addr.IsLoopback() {
		return nil
	}
	if g.named(host) && !neverNamed(addr) {
		return nil
	}
	return &refusedError{host: host, addr: addr}
}

func (g guard) named(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	for _, name := range g.names {
		if ok, err := path.Match(name, host); err == nil && ok {
			return true
		}
	}
	return false
}

// neverNamed are addresses that no name makes right: a cloud's metadata is at a link-local one.
func neverNamed(addr netip.Addr) bool {
	return addr.IsLinkLocalUnicast() || addr.IsMulticast() || addr.IsUnspecified() || metadata(addr)
}

func metadata(addr netip.Addr) bool {
	switch addr.String() {
	case "169.254.169.254", "fd00:ec2::254", "100.100.100.200", "168.63.129.16": // AWS and others, AWS, Alibaba, Azure
		return true
	default:
		return false
	}
}

// special reports whether the address is not one of the public internet: the special-purpose registries of
// https://www.iana.org/assignments/iana-ipv4-special-registry and …-ipv6-special-registry.
func special(addr netip.Addr) bool {
	if addr.IsPrivate() || addr.IsLoopback() || addr.IsLinkLocalUnicast() || addr.IsMulticast() || addr.IsUnspecified() || metadata(addr) {
		return true
	}
	for _, n := range []string{
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
		"::/96", "100::/64", "2001:db8::/32", "fec0::/10",
	} {
		if netip.MustParsePrefix(n).Contains(addr) {
			return true
		}
	}
	if inner, ok := embedded(addr); ok {
		return special(inner)
	}
	return false
}

// embedded returns the IPv4 address that an IPv6 one leads to: NAT64 (RFC 6052) and 6to4 (RFC 3056).
func embedded(addr netip.Addr) (netip.Addr, bool) {
	b := addr.As16()
	switch {
	case !addr.Is6():
		return netip.Addr{}, false
	case netip.MustParsePrefix("64:ff9b::/96").Contains(addr):
		return netip.AddrFrom4([4]byte(b[12:16])), true
	case netip.MustParsePrefix("2002::/16").Contains(addr):
		return netip.AddrFrom4([4]byte(b[2:6])), true
	default:
		return netip.Addr{}, false
	}
}

// dialer connects to what the guard allows.
func (g guard) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("reading the address: %w", err)
	}
	d := net.Dialer{Timeout: dialTimeout, KeepAlive: time.Minute, ControlContext: func(_ context.Context, _, resolved string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(resolved)
		if err != nil {
			return fmt.Errorf("reading the address: %w", err)
		}
		return g.check(host, to.Addr())
	}}
	return d.DialContext(ctx, network, address)
}
