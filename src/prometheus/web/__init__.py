"""The API and the page, over the same methods of `app` as the commands; nothing here writes or knows SQL."""
