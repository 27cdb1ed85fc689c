// Package webtest tries the pages in a browser: headless Chromium against a real server and the simulated
// estate. Its tests need Chromium; `go tool task deps` sees to it.
//
// A new page is one line in pages(): it is then read by axe in both themes, shown with JavaScript off, kept
// free of violations of the Content-Security-Policy, and photographed. What people do is a flow in flows().
package webtest
