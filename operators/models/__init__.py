"""Online estimators on plain arrays. They know neither shoppers nor segments nor lists."""
