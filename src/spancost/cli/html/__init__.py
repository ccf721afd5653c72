"""What the HTML pages of commands share: each is one file with its style in it, without scripts or anything fetched."""
