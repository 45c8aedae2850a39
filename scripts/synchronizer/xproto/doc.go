// Package xproto reads xproto, the language in which XOS describes models.
//
// [Parse] reads a file with the whole grammar of plyxproto, the parser of XOS, also what no service uses. [Validate]
// holds fields against the options that xosgenx allows. [CEL] translates the policy of a validator into the rule of
// a CustomResourceDefinition. All errors say where they are, as file:line:column.
package xproto
