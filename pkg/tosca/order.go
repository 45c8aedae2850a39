package tosca

import (
	"slices"
	"strings"
)

// order sorts nodes in levels: a node is one level after the last of the nodes that it requires,
// and inside a level the order is that of names, as in XOS (toposort_flatten). Nodes on a circle,
// or that require one on it, are left out; the circles are returned.
func order(nodes []*Node) (ordered []*Node, cyclic [][]*Node) {
	dependents := make(map[*Node][]*Node, len(nodes))
	open := make(map[*Node]int, len(nodes))
	var level []*Node
	for _, n := range nodes {
		open[n] = len(n.Links)
		for _, l := range n.Links {
			dependents[l.Target] = append(dependents[l.Target], n)
		}
		if len(n.Links) == 0 {
			level = append(level, n)
		}
	}
	ordered = make([]*Node, 0, len(nodes))
	for len(level) > 0 {
		slices.SortFunc(level, func(a, b *Node) int { return strings.Compare(a.Name, b.Name) })
		ordered = append(ordered, level...)
		var next []*Node
		for _, n := range level {
			for _, d := range dependents[n] {
				if open[d]--; open[d] == 0 {
					next = append(next, d)
				}
			}
		}
		level = next
	}
	return ordered, circles(nodes, open)
}

// circles follows the nodes that order has left out: each of them requires another such node, so
// every walk ends on a circle or on an earlier walk. Each circle is returned once: it is enough to
// cut it in one place.
func circles(nodes []*Node, open map[*Node]int) [][]*Node {
	var found [][]*Node
	walkOf := map[*Node]int{}
	for i, start := range nodes {
		var way []*Node
		n := start
		for n != nil && open[n] > 0 && walkOf[n] == 0 {
			walkOf[n] = i + 1
			way = append(way, n)
			j := slices.IndexFunc(n.Links, func(l Link) bool { return open[l.Target] > 0 })
			n = n.Links[j].Target
		}
		if len(way) > 0 && walkOf[n] == i+1 {
			found = append(found, way[slices.Index(way, n):])
		}
	}
	return found
}
