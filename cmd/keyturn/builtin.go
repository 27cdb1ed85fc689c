package main

import "github.com/spf13/cobra"

// adoptCobras makes the commands that cobra adds by itself, help and completion, refuse what they can't do as
// the others do: cobra prints its help, as if all was well.
func adoptCobras(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "help":
			cmd.Args = knownTopic
		case "completion":
			cmd.Args = noSuchCommand
			cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
			for _, shell := range cmd.Commands() {
				shell.Args = arguments(0, 0)
			}
		}
	}
}

// knownTopic is the Args of help: the path of a command.
func knownTopic(help *cobra.Command, args []string) error {
	topic, rest, err := help.Root().Find(args)
	switch {
	case err != nil:
		return usageErrorf("%w", err)
	case len(rest) > 0 && !topic.HasSubCommands():
		return usageErrorf("unexpected argument %q: `%s` has no commands of its own", rest[0], topic.CommandPath())
	default:
		return noSuchCommand(topic, rest)
	}
}
