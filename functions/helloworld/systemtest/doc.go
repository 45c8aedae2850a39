// Package systemtest holds the tests of the whole: the project's own config/
// and eventing/ on the local runner, used as a user would, with kubectl's and
// curl's means. What it proves is what the README promises.
package systemtest
