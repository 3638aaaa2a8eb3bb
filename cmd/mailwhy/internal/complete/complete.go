// Package complete tells shells which values flags and arguments take: `mailwhy completion` prints the script
// that asks.
package complete

import (
	"strings"

	"github.com/spf13/cobra"
)

// Flag says which values a flag of c takes. A flag that c does not have is a mistake of the caller's, and
// panics.
func Flag[S ~string](c *cobra.Command, name string, values ...S) {
	plain := make([]cobra.Completion, len(values))
	for i, v := range values {
		plain[i] = string(v)
	}
	offer := cobra.FixedCompletions(plain, cobra.ShellCompDirectiveNoFileComp)
	if err := c.RegisterFlagCompletionFunc(name, offer); err != nil {
		panic(err)
	}
}

// IDs completes arguments by what list finds, each with a few words about it. An error completes nothing:
// there is nobody to tell.
func IDs(c *cobra.Command, list func(*cobra.Command) (ids, about []string, err error)) {
	c.ValidArgsFunction = func(c *cobra.Command, given []string, begun string) ([]cobra.Completion,
		cobra.ShellCompDirective) {
		var out []cobra.Completion
		ids, about, err := list(c)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		for i, id := range ids {
			if strings.HasPrefix(id, strings.ToUpper(begun)) {
				out = append(out, cobra.CompletionWithDesc(id, about[i]))
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}
