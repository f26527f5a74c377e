-- Conversations with tools that are kept whole: {"messages": [...], "tools": [...]} in OpenAI's structure,
-- the arguments of a call as an object. The other columns hold what they say as text.
ALTER TABLE exchanges ADD COLUMN tool_turns JSON;
ALTER TABLE made_pairs ADD COLUMN tool_turns JSON;
ALTER TABLE conversations ADD COLUMN tool_turns JSON;
